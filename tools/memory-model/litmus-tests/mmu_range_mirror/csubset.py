# SPDX-License-Identifier: GPL-2.0
"""
A parser of the small part of C that the helper is written in.

Functions become lists of statements, statements and expressions become tuples
whose first element says what they are. What any of it means to the memory
model is not decided here, but in expand.py.
"""

import re

TOKEN = re.compile(r'''
	(?P<space>\s+) |
	(?P<num>(?:0[xX][0-9a-fA-F]+|\d+))[uUlL]* |
	(?P<id>[A-Za-z_]\w*) |
	(?P<str>"(?:\\.|[^"\\])*") |
	(?P<op>->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|
		[-+*/%&|^~!<>=?:;,.(){}\[\]])
''', re.VERBOSE)

TYPE_WORDS = {'unsigned', 'signed', 'long', 'int', 'short', 'char', 'bool',
	      'void', 'struct', 'enum', 'const', 'static', 'u64', 's64'}

BINARY = [['||'], ['&&'], ['|'], ['^'], ['&'], ['==', '!='],
	  ['<', '>', '<=', '>='], ['<<', '>>'], ['+', '-'], ['*', '/', '%']]

ASSIGN = {'=', '+=', '-=', '*=', '/=', '%=', '&=', '|=', '^='}


class SourceError(Exception):
	"""The source says something that the models have no word for."""


def strip(text):
	"""Drop comments and preprocessor lines."""
	text = re.sub(r'/\*.*?\*/', ' ', text, flags=re.DOTALL)
	text = re.sub(r'//[^\n]*', ' ', text)
	text = text.replace('\\\n', ' ')
	return re.sub(r'(?m)^[ \t]*#.*$', '', text)


def tokenize(text):
	tokens = []
	pos = 0
	while pos < len(text):
		match = TOKEN.match(text, pos)
		if not match:
			raise SourceError('cannot read: %s' % text[pos:pos + 40])
		pos = match.end()
		kind = match.lastgroup
		if kind != 'space':
			tokens.append((kind, match.group(kind)))
	return tokens


def normalize(text):
	"""Spell a piece of C the same way, however it was laid out."""
	return ' '.join(value for _, value in tokenize(text))


def matching(text, start, pair):
	"""The index just behind what closes the bracket at @start."""
	depth = 0
	for i in range(start, len(text)):
		if text[i] == pair[0]:
			depth += 1
		elif text[i] == pair[1]:
			depth -= 1
			if not depth:
				return i + 1
	raise SourceError('unbalanced %s' % pair)


def find_function(text, name):
	"""Return (parameter names, body text), or None. @text is stripped."""
	for match in re.finditer(r'\b%s\s*\(' % re.escape(name), text):
		close = matching(text, match.end() - 1, '()')
		brace = re.match(r'\s*(?:__\w+\s*\([^)]*\)\s*)*\{', text[close:])
		if not brace:
			continue
		start = close + brace.end() - 1
		end = matching(text, start, '{}')
		params = []
		for param in text[match.end():close - 1].split(','):
			names = re.findall(r'[A-Za-z_]\w*', param)
			if names and names[-1] != 'void':
				params.append(names[-1])
		return params, text[start + 1:end - 1]
	return None


class Parser:
	def __init__(self, text):
		self.tokens = tokenize(text)
		self.pos = 0

	def peek(self, ahead=0):
		i = self.pos + ahead
		return self.tokens[i] if i < len(self.tokens) else ('end', '')

	def at(self, *values):
		kind, value = self.peek()
		return kind != 'str' and value in values

	def take(self, value=None):
		token = self.peek()
		if value is not None and token[1] != value:
			around = ' '.join(v for _, v in
					  self.tokens[max(0, self.pos - 8):
						      self.pos + 8])
			raise SourceError('expected %s near: %s' % (value, around))
		self.pos += 1
		return token[1]

	def accept(self, value):
		if self.at(value):
			self.pos += 1
			return True
		return False

	# Statements

	def statements(self):
		result = []
		while self.peek()[0] != 'end' and not self.at('}'):
			result += self.statement()
		return result

	def statement(self):
		"""A list: one declaration may declare several variables."""
		if self.accept('{'):
			body = self.statements()
			self.take('}')
			return body
		if self.accept(';'):
			return []
		word = self.peek()[1]
		if word == 'if':
			return [self.if_statement()]
		if word == 'while':
			self.take()
			return [('while', self.parenthesized(), self.statement())]
		if word == 'for':
			return [self.for_statement()]
		if word.startswith('for_each_'):
			self.take()
			args = self.arguments()
			return [('foreach', word, args, self.statement())]
		if word in ('break', 'continue'):
			self.take()
			self.take(';')
			return [(word,)]
		if word == 'return':
			self.take()
			value = None if self.at(';') else self.expression()
			self.take(';')
			return [('return', value)]
		if word in TYPE_WORDS:
			return self.declaration()
		value = self.expression()
		self.take(';')
		return [('expr', value)]

	def if_statement(self):
		self.take('if')
		cond = self.parenthesized()
		then = self.statement()
		other = self.statement() if self.accept('else') else []
		return ('if', cond, then, other)

	def for_statement(self):
		self.take('for')
		self.take('(')
		init = self.expression()
		self.take(';')
		cond = self.expression()
		self.take(';')
		step = self.expression()
		self.take(')')
		return ('for', init, cond, step, self.statement())

	def type_words(self):
		while self.peek()[1] in TYPE_WORDS:
			if self.take() in ('struct', 'enum'):
				self.take()

	def declaration(self):
		result = []
		self.type_words()
		while True:
			while self.accept('*'):
				pass
			name = self.take()
			array = self.accept('[')
			if array:
				self.expression()
				self.take(']')
			init = self.assignment() if self.accept('=') else None
			result.append(('decl', name, init, array))
			if not self.accept(','):
				break
		self.take(';')
		return result

	# Expressions

	def parenthesized(self):
		self.take('(')
		value = self.expression()
		self.take(')')
		return value

	def arguments(self):
		args = []
		self.take('(')
		while not self.at(')'):
			if self.peek()[1] in TYPE_WORDS:
				self.type_words()
				args.append(('type',))
			else:
				args.append(self.assignment())
			if not self.accept(','):
				break
		self.take(')')
		return args

	def expression(self):
		return self.assignment()

	def assignment(self):
		left = self.ternary()
		if self.peek()[1] in ASSIGN and self.peek()[0] == 'op':
			op = self.take()
			return ('assign', op[:-1], left, self.assignment())
		return left

	def ternary(self):
		cond = self.binary(0)
		if not self.accept('?'):
			return cond
		then = cond if self.at(':') else self.expression()
		self.take(':')
		return ('cond', cond, then, self.ternary())

	def binary(self, level):
		if level == len(BINARY):
			return self.unary()
		left = self.binary(level + 1)
		while self.peek()[0] == 'op' and self.peek()[1] in BINARY[level]:
			op = self.take()
			left = ('bin', op, left, self.binary(level + 1))
		return left

	def unary(self):
		if self.at('!', '~', '-', '&', '*'):
			return ('un', self.take(), self.unary())
		if self.at('++', '--'):
			op = self.take()
			return ('assign', op[0], self.unary(), ('num', 1))
		if self.at('(') and self.peek(1)[1] in TYPE_WORDS:
			self.take('(')
			self.type_words()
			while self.accept('*'):
				pass
			self.take(')')
			return self.unary()
		return self.postfix()

	def postfix(self):
		value = self.primary()
		while True:
			if self.at('('):
				value = ('call', value, self.arguments())
			elif self.accept('['):
				value = ('index', value, self.expression())
				self.take(']')
			elif self.at('->', '.'):
				self.take()
				value = ('member', value, self.take())
			elif self.at('++', '--'):
				op = self.take()
				value = ('assign', op[0], value, ('num', 1))
			else:
				return value

	def primary(self):
		if self.at('('):
			return self.parenthesized()
		kind, _ = self.peek()
		value = self.take()
		if kind == 'num':
			return ('num', int(value, 0))
		if kind == 'id':
			return ('id', value)
		raise SourceError('unexpected %s' % value)


def parse(text):
	"""Parse a function's body, stripped."""
	parser = Parser(text)
	result = parser.statements()
	if parser.peek()[0] != 'end':
		raise SourceError('unexpected %s' % parser.peek()[1])
	return result


def walk(statements):
	"""Every statement, nested ones included."""
	for statement in statements:
		yield statement
		for part in statement:
			if isinstance(part, list):
				yield from walk([s for s in part
						 if isinstance(s, tuple)])


def assigned(statements):
	"""Names assigned to outside of declarations and for-headers."""
	names = set()

	def visit(value):
		if not isinstance(value, tuple):
			return
		if value and value[0] == 'assign' and value[2][0] == 'id':
			names.add(value[2][1])
		for part in value:
			if isinstance(part, list):
				for item in part:
					visit(item)
			else:
				visit(part)

	for statement in walk(statements):
		if statement[0] == 'for':
			visit(statement[2])
		else:
			for part in statement[1:]:
				if isinstance(part, tuple):
					visit(part)
	return names
