"""Tests of what is deployed: the compose file, its image, and both at work."""
