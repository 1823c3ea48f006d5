"""What every picture passes on its way out: two filters, a watermark, content credentials."""
