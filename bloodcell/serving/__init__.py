"""A kept model at work: from image files to answers."""
