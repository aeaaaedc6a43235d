"""FSL-SAGE with a BERT and texts of any length."""
