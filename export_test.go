package evsourcing

// JSONMessages returns the encoder of a bus that is given none.
func JSONMessages(codec Codec) MessageEncoder { return jsonMessages{codec: codec} }
