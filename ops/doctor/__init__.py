"""What may be wrong with a wallet's surroundings, and what to do about it."""
