"""One file per job, which lists the steps of the job."""

from bloodcell.console.quiet import quiet_libraries

# Before a job imports libraries, also in a notebook that imports the job.
quiet_libraries()
