"""Bring models and data sets onto this machine: what is known, downloading, and unpacking of archives nobody trusts."""
