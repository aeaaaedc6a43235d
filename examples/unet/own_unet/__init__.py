"""FSL-SAGE with a U-Net that segments images."""
