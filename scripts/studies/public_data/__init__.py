"""How much the public set matters."""
