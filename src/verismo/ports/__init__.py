"""What the planes need from outside, as Protocols with their contracts in words."""
