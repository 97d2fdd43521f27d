"""Which CPU the code is for, and which CPU this machine has."""
