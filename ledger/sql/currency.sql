-- The operator's own units.

-- name: own_units
SELECT code, scale FROM currencies

-- name: add_unit
INSERT INTO currencies (code, scale) VALUES (%s, %s) ON CONFLICT (code) DO NOTHING
