"""What the data sources share: files read safely, labels and splits, tables, texts, pictures, arrays."""
