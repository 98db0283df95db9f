"""What people run: the command line, the embedded stack and the tools around them."""
