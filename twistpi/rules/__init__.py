"""What may happen, decided from what is known: pure functions that give changes or refuse."""
