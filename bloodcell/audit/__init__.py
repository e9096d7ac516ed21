"""What a careful colleague would say of a data set: each file here looks for one kind of trouble."""
