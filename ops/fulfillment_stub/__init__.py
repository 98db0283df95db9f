"""A fulfillment service to try things with: remembers its keys, and fails as it is told to."""
