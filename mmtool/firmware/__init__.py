"""What a machine says about itself: formats and no policy."""
