--- A server of which nothing is known: everything goes to it in the form that most servers take.
return {
  name = "generic",
  title = "this server",
}
