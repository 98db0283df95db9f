-- The operator's own units: what `wallet currencies` lists and adds, and every process knows.

-- name: units
SELECT code, scale, created_at FROM currencies ORDER BY code

-- name: add
INSERT INTO currencies (code, scale) VALUES (%s, %s) ON CONFLICT (code) DO NOTHING
