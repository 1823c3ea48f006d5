"""The paper's figure: how a setting of sampling trades alignment for distance, or buys both."""
