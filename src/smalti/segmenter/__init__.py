"""A picture in; labels, masks and polygons out: the one road that every job on pictures takes.

May import ``jobs`` and what that may, ``annotations`` and ``vision``; neither the compiler nor the room of a job.
"""
