"""A model on its way: fetched from its publisher, looked into, and given to C programs.

May import ``jobs``, ``fetch`` and the deployable half; no room beside it.
"""
