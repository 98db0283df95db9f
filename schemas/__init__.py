"""What goes over the wire and what comes from the environment."""
