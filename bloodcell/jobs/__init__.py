"""One file a job; a job reads from top to bottom as the recipe of what it does."""

from bloodcell.console.quiet import quiet_libraries

# Before a job imports them, also where it is a notebook that imports the job.
quiet_libraries()
