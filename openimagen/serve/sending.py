"""Answers handed on piece by piece, so that who does not read them is let go.

uvicorn takes a body of any size at once, and keeps it for as long as the client likes.
"""

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PIECE = 256 * 1024  # bytes
STALLED = 30.0  # seconds that a client may take for a piece


class Paced:
    """Waits for each piece to be taken; ClientDisconnect if one is not."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, in pieces."""

        async def send_piece(message: Message) -> None:
            try:
                async with asyncio.timeout(STALLED):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        async def send_pieces(message: Message) -> None:
            body, start = message.get("body", b""), 0
            while len(body) - start > PIECE:
                piece = body[start : start + PIECE]
                await send_piece({"type": message["type"], "body": piece, "more_body": True})
                start += PIECE
            await send_piece({**message, "body": body[start:]} if start else message)

        await self.app(scope, receive, send_pieces)
