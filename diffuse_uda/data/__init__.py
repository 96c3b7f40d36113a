"""From files at a centre to what training sees, and the way back: volumes, layouts, the gate, the working grid."""
