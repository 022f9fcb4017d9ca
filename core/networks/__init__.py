"""Networks that every science shares."""
