"""Label the pictures of a folder: a job that can be stopped, goes on where it ended, and loses no result.

May import ``jobs`` and what that may; neither the compiler nor a room beside it, so that starting it is cheap.
"""
