"""How fast a model runs here, and what limits it: times, layers, the CPU's peak, tables and plots.

May import ``jobs``, and of the rooms beside it ``labelling`` (end to end) and ``delivery`` (what a file holds).
"""
