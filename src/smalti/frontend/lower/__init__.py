"""Builders: operations as they are meant, with plain arguments, for handlers of any format.

A builder checks types, computes with sizes where all operands are known, and makes the nodes of the IR.  It never sees
an attribute.  A handler reads attributes and inputs, and calls one.
"""
