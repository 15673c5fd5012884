"""How requests and answers are spelled: by clients, and by providers."""
