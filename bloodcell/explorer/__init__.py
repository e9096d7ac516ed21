"""The page of ``bloodcell explore``: every image of some runs, in a browser on this machine."""
