"""How much attackers harm each strategy."""
