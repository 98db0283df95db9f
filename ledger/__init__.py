"""The money: pure rules and the tables that keep it."""
