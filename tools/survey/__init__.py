"""What the surveys share: zoo, drawn, exporters, versions and toolkits."""
