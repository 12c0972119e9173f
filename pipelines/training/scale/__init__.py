"""The second training engine: TRL's trainers, on one or many processes, behind one contract."""
