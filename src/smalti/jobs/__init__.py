"""What every job on many pictures stands on: output files, places, an engine over many pictures, plain tables.

May import the deployable half (``errors`` to ``runtime``), ``vision``, ``fetch`` and ``demo``, but no room of a job.
"""
