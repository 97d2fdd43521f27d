"""How right a model is: mIoU on masks, and the table of precision modes against each other.

May import every room but the façade and the command line.
"""
