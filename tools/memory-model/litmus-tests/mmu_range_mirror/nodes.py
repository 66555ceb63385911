# SPDX-License-Identifier: GPL-2.0
"""
Values and statements of a litmus test's thread.
"""

import re


# Values

class Num:
	def __init__(self, value):
		self.value = int(value)

	def __str__(self):
		return str(self.value)


class Text:
	"""An expression over a thread's registers, and the registers."""
	def __init__(self, text, regs=()):
		self.text = text
		self.regs = frozenset(regs)

	def __str__(self):
		return self.text


class Shared:
	"""The address of a shared variable."""
	def __init__(self, name):
		self.name = name

	def __str__(self):
		return self.name


class Opaque:
	"""Something that no test depends on; @suffix says whose it is."""
	def __init__(self, suffix=''):
		self.suffix = suffix


class Object(Opaque):
	"""The same, and known not to be NULL."""


class Function(Opaque):
	def __init__(self, name):
		super().__init__()
		self.name = name


# Code of a thread

class Event:
	"""A memory access or a fence."""
	def __init__(self, text, what, shared=None, reg=None, stored=None,
		     rmw=None):
		self.text = text
		self.what = what
		self.shared = shared
		self.reg = reg
		self.stored = stored
		self.rmw = rmw
		# The same in registers, where no other thread can tell.
		self.local = None

	def writes(self):
		return self.stored is not None or self.rmw


class Set:
	def __init__(self, reg, text):
		self.reg = reg
		self.text = text


class If:
	def __init__(self, cond, then, other):
		self.cond = cond
		self.then = then
		self.other = other


def nested(text):
	return '(%s)' % text if ' ' in text else text


def is_comparison(text):
	return bool(re.search(r' (==|!=|<|>|<=|>=) ', text))


def events(nodes):
	for node in nodes:
		if isinstance(node, Event):
			yield node
		elif isinstance(node, If):
			yield from events(node.then)
			yield from events(node.other)


def words(text):
	return set(re.findall(r'[A-Za-z_]\w*', text))


def leaves(nodes):
	for node in nodes:
		if isinstance(node, If):
			yield from leaves(node.then)
			yield from leaves(node.other)
		elif isinstance(node, Event) and node.local is not None:
			yield from leaves(node.local)
		else:
			yield node
