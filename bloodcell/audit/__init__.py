"""Checks of a data set: each file is of one kind."""
