"""The walks of a new user by script: the commands of the pages in a terminal, and what must hold of the answers."""
