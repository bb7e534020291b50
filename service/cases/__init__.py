"""What people do: start cases, read reviews, sign, correct, and what time does when they do not."""
