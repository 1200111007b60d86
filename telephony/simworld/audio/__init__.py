"""Speech clips (data) and the script that makes them."""
