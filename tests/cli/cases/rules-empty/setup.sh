mkdir policy
