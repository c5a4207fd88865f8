"""What is read from bytes: numbers, and the values of a body; and what may be wrong with them."""


class Damaged(Exception):
    """Something that was acknowledged cannot be read: message, file, byte, first seq lost."""


class Unknown(Exception):
    """A format, or a part of it, that this reader does not know."""


class Broken(Exception):
    """A body whose checksum is right and whose content is not."""


def u(data, at, size):
    return int.from_bytes(data[at:at + size], "little")


class Body:
    """Takes values off the front of a body."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def raw(self, size):
        if size > len(self.data) - self.at:
            raise Broken("the body ends too early")
        self.at += size
        return self.data[self.at - size:self.at]

    def byte(self):
        return self.raw(1)[0]

    def varint(self, bits=64):
        first = self.byte()
        if first > 253:
            raise Broken(f"{first} starts no varint")
        n = first if first < 251 else u(self.raw(1 << first - 250), 0, 8)
        if n >> bits:
            raise Broken(f"{n} has more than {bits} bits")
        return n

    def signed(self):
        n = self.varint()
        return -(n + 1) // 2 if n & 1 else n // 2

    def bytes(self):
        return self.raw(self.varint())

    def text(self):
        try:
            return self.bytes().decode("utf-8")
        except UnicodeDecodeError as err:
            raise Broken(str(err)) from None

    def list(self, element, *bits):
        count = self.varint()
        if count > len(self.data) - self.at:  # every element takes a byte or more
            raise Broken("a list longer than the body")
        return [element(*bits) for _ in range(count)]

    def extra(self):
        return self.varint(16), self.varint(16), self.bytes()

    def end(self):
        if self.at != len(self.data):
            raise Broken("bytes left over")
