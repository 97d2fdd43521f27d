"""What :mod:`smalti.compiler` stands on: its options, image sizes, and what a model file says about itself.

May import what the compiler may, but not the compiler.
"""
