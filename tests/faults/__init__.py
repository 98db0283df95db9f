"""Faults put into our processes from outside: no production code knows of them."""
