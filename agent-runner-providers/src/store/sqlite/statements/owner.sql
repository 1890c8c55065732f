SELECT owner, epoch, status FROM run WHERE id = $1
