DELETE FROM record WHERE collection = $1 AND key = $2
