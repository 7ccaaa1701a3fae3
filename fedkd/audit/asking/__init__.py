"""What a malicious server asks: inputs that it makes on models of its own, in the places of public samples."""
