"""A graph becomes an offline model file; pictures become the ranges that quantising needs.

May import the compiler and ``jobs``; not ``labelling``, ``bench`` or ``delivery``, which stand beside it.
"""
