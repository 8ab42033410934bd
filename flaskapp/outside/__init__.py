"""What is told to whoever watches the product from outside: counts, traces and errors, without personal data."""
